"""What goes over a wire, as msgspec types."""
