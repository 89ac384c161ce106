#!/bin/sh
# Makes every .flac of this folder anew. Needs the program sox (Debian: apt-get install sox) and this package.
set -e
cd "$(dirname "$0")"
rm -f ./*.flac
python signals.py
for name in bursts speech stereo44 phone8; do
    sox -D $name.flac -b 16 $name.sv.flac channels 1 rate 16000 gain -3.0 silence 1 0.1 0.1% -1 0.1 0.1%
done
sox -D stereo44.flac -b 16 stereo44.ks.flac channels 1 rate 16000 gain -3.0
sox -D stereo44.flac -b 16 stereo44.mono.flac channels 1
sox -D phone8.flac -b 16 phone8.rate.flac rate 16000
sox -D speech.flac -b 16 speech.gain.flac gain -3.0
sox -V1 -D speech.flac -b 16 speech.loud.flac gain 18
sox -D bursts.flac -b 16 bursts.start.flac silence 1 0.1 0.1%
sox -D bursts.flac -b 16 bursts.silence.flac silence 1 0.1 0.1% -1 0.1 0.1%
sox -D bursts.flac -b 16 bursts.samples.flac silence 1 400 0.3% -1 0.05 0.2%
