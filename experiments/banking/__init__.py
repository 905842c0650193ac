"""What a bank is made of: records, part files, appending, merging, splitting, shipped banks, and foreign formats."""
