"""A model as editable graphs: what every room that reads or edits them shares."""
