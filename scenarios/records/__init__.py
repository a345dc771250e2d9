"""CRM records in files: JSON lines and CSV, read as upstream systems publish them."""
