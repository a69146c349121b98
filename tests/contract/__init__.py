"""One suite for every plug-in that is listed, and the errors that it must catch."""
