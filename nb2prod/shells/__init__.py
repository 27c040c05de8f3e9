"""Where people come in: Python, command line, magics. They parse, call the flow, and render."""
