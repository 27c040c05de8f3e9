"""Files that every generated package holds verbatim; here they are ordinary, tested modules."""
