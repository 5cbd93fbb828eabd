"""Fast forms of the plain attention: one file each, same arguments, compared with it in tests."""
