"""What every room uses and none owns: tables, lists, scratch folders, limits, stacks."""
