"""What people see: tables, progress bars, plots, pages."""
