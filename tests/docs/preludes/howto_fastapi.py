import asyncio

from obo_kit import user_session
