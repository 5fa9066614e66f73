"""Settings that several papers share: composed from stages, above them and below the papers."""
