"""Pages that are made when the site is built: the reference, the gallery's index and boxes."""
