"""How a frozen network teaches: score distillation and its relatives, one file each, apart from which network it is."""
