"""What is computed: MLModel subclasses, one task a file."""
