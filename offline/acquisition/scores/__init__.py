"""Named scores of a clip, each in 0..1, larger where labels promise more.

| name | of a box |
|---|---|
| `entropy` | predictive entropy of the mean class distribution (Shannon) |
| `expected_entropy` | mean of the samples' own entropies: what more data would not cure |
| `mutual_information` | the first minus the second: BALD (Houlsby et al. 2011) |
| `ambiguity` | 1 minus the gap between the two likeliest outcomes |
| `disagreement` | how far the members' boxes lie apart (`scores.geometry`) |

| name | of a track (`scores.tracks`) |
|---|---|
| `flicker` | mean change of probability from one sighting to the next |
| `gaps` | share of the frames within its span that lack it |
| `flips` | share of successive sightings with another class |
| `jumps` | share of sightings where no vehicle could have been |

Samples are ensemble members, passes with dropout, or both. An outcome more than the classes is
*nothing there*, what a distribution lacks to 1. The first three are in nats where they are told
of boxes (`ClassScores`), and divided by the logarithm of the number of outcomes where they are
named scores.
"""
