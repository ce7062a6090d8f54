"""One Online Boutique: its topology as data, and its deployment through Git."""
