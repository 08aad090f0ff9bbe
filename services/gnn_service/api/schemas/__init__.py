"""What requests and answers look like on the wire; everything else of theirs is in `domain`."""
