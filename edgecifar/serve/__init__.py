"""A web server around a classifier: a page for people, an API for programs, limits for both."""
