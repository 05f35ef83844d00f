"""Who is who: the people of a dataset, as humans and machine have them."""
