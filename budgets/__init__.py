"""What may be spent: amounts, prices, purse, and the mathematics of when to stop."""
