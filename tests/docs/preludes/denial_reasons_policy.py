from obo_kit import DenialReason, optional_tool
