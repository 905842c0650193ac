"""Tuning: which way of answering a bank speaks for, and whether it says so clearly enough (`nested.tune`)."""
