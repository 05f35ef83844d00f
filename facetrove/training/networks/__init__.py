"""What needs Keras: networks, losses and the training loop; imported when training begins."""
