"""Recipes, augmentation and the trainer: from images to a checkpoint."""
