"""Figures: the quality of images, and the table that holds them with what each job used."""
