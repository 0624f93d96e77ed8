"""What the methods compute with: exact sums, order statistics, random numbers, sign consensus."""
