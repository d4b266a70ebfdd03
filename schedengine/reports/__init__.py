"""Numbers to where people read them: CSV files and tables on the terminal."""
