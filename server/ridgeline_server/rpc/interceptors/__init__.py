"""What happens around every call over the wire, whichever rpc it is: one module for each concern."""
