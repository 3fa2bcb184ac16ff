"""How the vector code is generated, from the single instruction upwards."""
