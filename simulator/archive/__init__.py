"""Archives of mail (mbox, eml) and meetings (ics): read, shifted to the present, released step by step."""
