"""What is sent in every row: prompts, frames, tensors."""
