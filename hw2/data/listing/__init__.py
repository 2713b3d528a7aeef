"""What pictures a set holds, in any layout and place, and the bytes of them."""
