"""Random English sentences from a small grammar, and the phones of their words."""

import re
from functools import cache

import numpy as np

from ...errors import FitHubertError
from .. import cmudict

# No word here is spelled like another one of a different sound (read, wind, live, close, ...): the
# phones come from a lexicon that knows the spelling only.
WORDS: dict[str, tuple[str, ...]] = {
    kind: tuple(words.split())
    for kind, words in {
        "det": "the a this that every another our my your his her their",
        "noun": """
            apple arrow artist author autumn baby badge bag ball banjo bank barn basket bath
            beach beard bed bell bench bird blanket boat bone book boot bottle bowl box boy
            branch bread brick bridge broom brother brush bucket bull bus bush butcher butter
            button cabin cage cake camel camera candle cap captain car carpet cart castle cat
            chain chair chalk cheese cherry chicken child church circle clerk cliff clock cloth
            cloud coach coast coat coin collar cook cookie corner cottage cotton couch cousin
            cow cradle crew crown cup cushion daughter decision desk dish doctor dog doll donkey
            door dress drum duck dust eagle ear earth edge egg elbow engine exposure eye face
            farm farmer father feather fence field finger fire fish flag flame floor flower
            flute fog foil foot forest fork fountain fox friend frog fruit furniture garage
            garden gate ghost giant gift girl glass glove goat gold goose grape grass guard
            guest guitar gym hall hammer hand hat hawk head heart hedge hill hook horse hotel
            house ice ink island jacket jar jaw jewel joint joke judge juice jungle junk jury
            kettle key kid king kitchen kite knee knife ladder lake lamp leather leg leisure
            lemon letter library light lion lobby log luggage machine magic map market mast
            match measure meadow meat melon message milk mirror money monkey month moon moth
            mother mountain mouse mouth mud museum music nail neck needle neighbor nest noise
            north nose nurse oath ocean oil onion orange orchard owl oyster page paint palace
            paper parcel path peach pearl pencil pepper photograph pillow pilot pipe plate
            pleasure plough pocket poem poet point poison pond pony porch potato powder prince
            pudding pumpkin puppy queen question rabbit radio rain raven ribbon rice ring river
            road robin rock roof room rope rose royalty sail salt sand school scissors seat
            shadow sheep shelf shell ship shirt shoe shop shoulder silk singer sister sky smoke
            snake snow soap soil soldier song soup south spider spoon sponge spring stair star
            station stone storm stove street sugar summer sun table tailor teacher teeth temple
            thief thing thread throat thumb thunder ticket tiger toast toe tooth towel tower
            town toy tractor train treasure tree truth tulip turkey turtle uncle valley vase
            vegetable village violin vision visitor voice voyage wagon wall watch water wave
            weather wheel whistle window wing winter wizard wolf woman wood wool wreath yacht
            yard yarn youth zebra zipper zoo
            """,
        "adj": """
            amazing angry beautiful beige big black blue bright broken brown busy calm careful
            casual cheap cheerful clean clever cloudy cold cool crazy dark deep dirty dry early
            easy empty enormous fair famous fast fat flat foolish fresh friendly full funny
            gentle good grand gray great green happy hard heavy hidden high hollow honest huge
            hungry joyful large lazy little lonely long loud lovely lucky major modern narrow
            new nice noisy odd old orange pale pink plain poor proper proud pure purple quick
            quiet rare raw red rich rough round royal sad safe sharp shiny short shy silent
            silly simple sleepy slow small smooth soft sour special square strange strong sunny
            sure sweet tall tasty thick thin thirsty tiny tired tough unusual usual warm wealthy
            weird wet white whole wide wild wise wonderful wooden yellow young
            """,
        "past": """
            adored answered avoided bought broke brought brushed built burned called carried
            caught changed chased checked chose cleaned copied counted covered crossed destroyed
            discovered drew dropped enjoyed examined exchanged fetched filled finished fixed
            followed forgot found gathered gave grabbed guarded heard held hid hurt joined
            judged kept kicked knew lifted liked lost loved made measured mentioned missed moved
            needed noticed opened ordered painted picked placed pleased pointed polished pulled
            purchased pushed raised reached remembered repaired saved shook shot showed sold
            stole studied surrounded taught threw tied took touched treasured trusted used
            visited wanted washed watched wished wore
            """,
        "moved": """
            arrived appeared changed climbed crawled danced disappeared escaped fell flew hopped
            jumped laughed lingered looked marched paused played ran rested returned rolled sang
            sat shouted slept slipped smiled spoke stood stopped stumbled swam talked traveled
            turned vanished waited walked wandered went whispered worked yawned
            """,
        "prep": """
            above across after against along around at before behind below beneath beside
            between beyond by from in inside into near on outside over past through toward under
            upon with without
            """,
        "adverb": """
            again alone always badly boldly bravely brightly carefully early easily finally
            gently happily loudly nearly never often once quickly quietly rarely sadly seldom
            silently slowly smoothly softly sometimes soon suddenly together truly twice usually
            """,
        "name": """
            Alice Arthur Anthony Beth Charles Charlotte Chloe Dorothy Edith Ethan Faith George
            Grace Harvey Heather Howard Hugh Joshua Joyce Judith Keith Lewis Lucy Matthew Martha
            Oscar Owen Paul Peter Roy Ruth Samuel Sarah Sean Theo Troy Thelma Victor Walter
            Yvonne Zachary Zoe
            """,
        "when": """
            today yesterday tonight everyday Monday Tuesday Wednesday Thursday Friday Saturday
            Sunday January March April May June July August October
            """,
        "number": """
            two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
            sixteen seventeen eighteen nineteen twenty thirty forty fifty
            """,
        "plural": """
            apples birds boats books boxes boys bridges brothers chairs cherries children
            choices churches coins cows dishes dogs doors eggs faces feathers flowers girls
            hours houses hundred jewels judges leaves letters lions measures months mothers
            mountains oranges oysters paths pictures pieces pleasures points ponies roses sheep
            shoes songs stones teachers teeth thousand toys treasures trees vegetables visions
            voices watches women yards years
            """,
        "who": "he she they we I you nobody somebody everyone",
        "join": "and but while because until when",
    }.items()
}

TEMPLATES = tuple(
    line.strip()
    for line in """
    det adj noun past det noun
    det noun past det adj noun adverb
    det noun past number plural prep det noun
    det adj noun moved prep det adj noun
    who past det noun prep det noun
    who adverb past number adj plural
    who moved prep det noun adverb
    name past det noun and det adj noun
    name and name moved prep det noun
    name moved adverb prep det adj noun
    name past number plural when
    prep det noun who past det noun
    when who past det adj noun
    adverb det noun moved prep det noun
    who moved join name past det noun
    name past det noun join who moved
    det noun was adj and det noun was adj
    was det noun prep det noun adj
    there were number adj plural prep det noun
    who would like number plural and det noun
    could name choose det adj noun
    should we measure det adj noun when
    please show name det adj noun
    name thought about the noun of the noun
    """.strip().splitlines()
)


def vocabulary() -> list[str]:
    """Every word that a sentence can hold, in lower case, sorted."""
    fixed = {word for template in TEMPLATES for word in template.split() if word not in WORDS}
    return sorted(fixed | {word.lower() for words in WORDS.values() for word in words})


def random_sentence(generator: np.random.Generator) -> str:
    """One sentence in lower case, without punctuation, about 2 to 4 s when spoken."""
    sentence = ""
    while not 25 <= len(sentence) <= 60:
        template = TEMPLATES[generator.integers(len(TEMPLATES))].split()
        sentence = " ".join(
            WORDS[slot][generator.integers(len(WORDS[slot]))].lower() if slot in WORDS else slot for slot in template
        )
    return sentence


@cache
def _lexicon() -> dict[str, tuple[str, ...]]:
    """Word -> its first pronunciation."""
    return dict(reversed(cmudict.entries()))


def phones(words: str) -> list[str]:
    """ARPAbet with stress ("HH AH0 L OW1"): the first pronunciation of each word in CMUdict.

    Raises
    ------
    FitHubertError
        Words that CMUdict lacks; all of them are named.
    """
    found = [(word, _lexicon().get(word)) for word in re.split(r"\s+", words.strip().lower())]
    if missing := sorted({word for word, pronunciation in found if not pronunciation}):
        raise FitHubertError(f"expected words of CMUdict, found {', '.join(missing)}: use other words")
    return [phone for _, pronunciation in found for phone in pronunciation]
