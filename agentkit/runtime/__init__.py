"""What runs agents and tools from outside the loop."""
