"""What people look at after a turn of the loop: one page, and its figures as JSON."""
