"""What all tests share: the program, hubs, edge devices, and the clients that talk to them."""
