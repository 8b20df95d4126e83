"""General helpers, which do not depend on the rest of the kit."""
