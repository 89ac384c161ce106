"""Audio files: found, decoded, measured. Everything in the package is at this rate."""

SAMPLE_RATE = 16_000
