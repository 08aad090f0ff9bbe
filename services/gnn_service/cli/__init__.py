"""One typer application; every command is imported only when it is called."""
