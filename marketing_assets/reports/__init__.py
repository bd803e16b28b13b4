"""Pages that people look at, made from figures: one HTML file each, complete in itself. No queries here."""
