"""What is kept private: image regions, faces and plates, and places where nothing is recorded."""
