"""Names, places, things and values that records are made of.

Half of the surnames and places are put together from syllables, so that an answer is often a word that stands nowhere
else: it has to be read in the document. Every answer begins with a capital letter, a digit or a code letter, which the
tokenizer cuts alike behind a space and at the start of an answer.
"""
from __future__ import annotations

from random import Random

FIRST = """Ada Agnes Albert Alice Ambrose Amos Anselm Arthur Barnaby Beatrice Bertha Bridget Caleb Cecil Clara Clement Cora
Cyril Daniel Deborah Dinah Duncan Edgar Edith Edmund Eleanor Elias Ellen Enoch Esther Eunice Ezra Fergus Flora Florence
Frances Gideon Gilbert Giles Grace Gregory Hannah Harold Harriet Hector Helen Henry Herbert Hester Hilda Horace Hugh Ida
Ingrid Irene Isaac Ivor Jacob Janet Jasper Joan Joel Josiah Judith Julian Laura Lavinia Leah Leonard Lewis Lydia Mabel
Magnus Marcus Margaret Martha Martin Matilda Maud Miles Miriam Morgan Nathan Nicholas Nora Oliver Olive Oscar Oswald Owen
Patience Percy Philip Phoebe Prudence Rachel Ralph Reuben Rhoda Robert Roger Roland Rosa Rowena Rufus Rupert Ruth Sabina
Samuel Sarah Selina Silas Simon Stella Stephen Susan Sybil Tabitha Theodore Thomas Tobias Ursula Victor Vincent Violet
Walter Wilfred Winifred Yorick Zachary""".split()
LAST = """Abbot Ainsley Alder Archer Ashdown Atwood Bagshaw Barlow Beckett Bellamy Blackwood Bolton Bramley Briggs Burrows
Calder Carver Chandler Clayton Colby Cooper Cotter Crane Croft Dalton Danvers Dawes Denby Drake Eastman Ellwood Emery
Fairfax Farrow Fenwick Fletcher Forrest Gale Garland Gibbs Glover Grange Granger Hackett Hale Hallam Harker Hartley Hawke
Heath Hobbs Holloway Hooper Hurst Ingram Ives Jessop Keats Kemp Kirby Lambert Langley Larkin Lister Lockwood Loomis Lusk
Marlow Marsh Mercer Merrow Milner Mott Nettle Newell Norwood Oakes Ogden Orchard Paget Pell Penrose Pike Plumb Porter
Prescott Quill Radley Ramsay Redfern Ridley Rook Rowe Salter Selby Sexton Shaw Skelton Slater Stroud Sutter Talbot Tanner
Thorne Tilney Travers Tuttle Underhill Vane Varley Vickers Wadham Walden Warner Weaver Webster Weller Whitlock Wilde
Winter Wragg Yardley Yates""".split()
ONSETS = "b br c cr d dr f fr g gl gr h k l m n p pr qu r s sc sh sk st t th tr v w y z".split()
VOWELS = "a e i o u a e i o ae ai ea ee ie oa oo ou".split()
CODAS = "b ck d ff g l ll m n nd ng nt p r rd rk rn s sk ss st t th v x".split()
SURNAME_ENDS = "er ley man ton by ford well ridge stone low wick ward son dale ham".split()
PLACE_ENDS = "bury combe dale den field ford gate ham head holm hurst ley mere mouth stead stoke thorpe ton wick worth".split()
PLACE_WORDS = """Alder Amber Ash Black Bramble Brook Cold Copper Crow Deep East Elm Fair Fern Fox Gallow Glass Gold Green Grey
Hare Hazel Heron High Holly Iron Kestrel King Lark Long Low Marrow Mill Moor Moss North Oak Otter Owl Raven Red Rook Rush
Salt Sand Silver Skerry South Stag Star Stone Swan Thistle Thorn West White Wild Willow Winter Wolf Wren""".split()
PLACE_KINDS = """Bank Bay Bridge Castle Corner Court Cross Down End Farm Fell Gorge Green Hall Harbour Heath Hill House Island
Lane Lodge Manor Marsh Mills Point Pond Quay Reach Road Rock Row Sound Square Street Tower Wharf Wood Yard""".split()
ADJECTIVES = """north south east west upper lower inner outer old new great little front rear middle first second third fourth
fifth main spare left right long short high low winter summer iron brass copper wooden stone covered open narrow broad
square round double single""".split()
THINGS = """pump boiler valve turbine gate sluice crane winch hoist bell clock tower bridge lantern lamp furnace engine
cistern tank pipe drain well gutter chimney roof stair door window shutter barn stable granary cellar store forge kiln oven
loom press mill wheel shaft gear bearing piston gauge meter scale ladder rope cable chain anchor mast boat ferry dredger
barge wagon cart carriage fence wall hedge path road culvert weir lock basin wharf quay jetty beacon signal switch fuse
generator transformer battery filter fan vent duct radiator thermometer barometer telescope compass chart ledger register
organ piano pulpit font pew chapel school library hall kitchen garden orchard greenhouse fountain statue""".split()
QUALIFIERS = """oil water steam drain supply coal grain tool boat ferry mill chapel school market harbour garden yard station
guard relief transfer storm test feed fire ballast""".split()
SHIPS = """Adventure Albatross Amity Argosy Aurora Bittern Bluebell Bonaventure Caroline Constance Cormorant Corncrake Curlew
Dauntless Dolphin Endeavour Fortitude Fulmar Gannet Good Hope Guillemot Halcyon Harmony Hopewell Industry Kittiwake Lapwing
Leander Mayflower Merlin Minerva Nightingale Nonpareil Orion Osprey Patience Pelican Perseverance Petrel Phoenix Plover
Prosperity Providence Puffin Redshank Resolution Sandpiper Seahorse Speedwell Starling Sunrise Swiftsure Tern Thunderer
Triumph Unicorn Venture Vigilant Wanderer""".split()
MONTHS = "January February March April May June July August September October November December".split()
MONEY = "pounds shillings crowns guineas florins dollars marks ducats".split()
GOODS = """coal barley wheat oats flour salt wool timber slate bricks lime iron copper tin lead rope canvas tar pitch oil
candles soap paper glass nails cheese butter herring apples potatoes tea coffee sugar""".split()
MEASURES = "tons barrels sacks bales crates casks bushels hundredweight loads boxes".split()
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def syllable(draw: Random) -> str:
    return draw.choice(ONSETS) + draw.choice(VOWELS) + (draw.choice(CODAS) if draw.random() < 0.6 else "")


def invented(draw: Random, ends: list[str]) -> str:
    end = draw.choice(ends) if draw.random() < 0.6 else syllable(draw)
    return (syllable(draw) + end).capitalize()


def surname(draw: Random) -> str:
    return draw.choice(LAST) if draw.random() < 0.5 else invented(draw, SURNAME_ENDS)


def person(draw: Random) -> str:
    return f"{draw.choice(FIRST)} {surname(draw)}"


def place(draw: Random) -> str:
    kind = draw.random()
    if kind < 0.35:
        return f"{draw.choice(PLACE_WORDS)} {draw.choice(PLACE_KINDS)}"
    if kind < 0.55:
        return draw.choice(PLACE_WORDS) + draw.choice(PLACE_ENDS)
    return invented(draw, PLACE_ENDS) + (" " + draw.choice(PLACE_KINDS) if draw.random() < 0.3 else "")


def thing(draw: Random) -> str:
    """What a record is about, such as "upper drain valve", "second bell" or "crane No. 14"."""
    words = [draw.choice(THINGS)]
    if draw.random() < 0.5:
        words.insert(0, draw.choice(QUALIFIERS))
    if draw.random() < 0.75:
        words.insert(0, draw.choice(ADJECTIVES))
    else:
        words.append(f"No. {draw.randint(1, 99)}")
    return " ".join(words)


def ship(draw: Random) -> str:
    name = draw.choice(SHIPS)
    return f"{name} of {place(draw)}" if draw.random() < 0.5 else f"{surname(draw)}'s {name}"


def code(draw: Random) -> str:
    letters = "".join(draw.choice(LETTERS) for _ in range(draw.randint(1, 3)))
    digits = "".join(draw.choice("0123456789") for _ in range(draw.randint(2, 5)))
    shape = draw.random()
    if shape < 0.4:
        return f"{letters}-{digits}"
    if shape < 0.6:
        return f"{digits}-{letters}"
    if shape < 0.8:
        return letters + digits
    return f"{letters}-{digits}-{draw.choice(LETTERS)}"


def serial(draw: Random) -> str:
    return code(draw) if draw.random() < 0.6 else str(draw.randint(1000, 999999))


def number(draw: Random) -> str:
    return str(draw.randint(2, 10 ** draw.randint(1, 4)))


def grouped(draw: Random) -> str:
    return f"{draw.randint(2, 10 ** draw.randint(1, 5)):,}"


def amount(draw: Random) -> str:
    return f"{grouped(draw)} {draw.choice(MONEY)}"


def cargo(draw: Random) -> str:
    return f"{number(draw)} {draw.choice(MEASURES)} of {draw.choice(GOODS)}"


def date(draw: Random) -> str:
    return f"{draw.randint(1, 28)} {draw.choice(MONTHS)}" + (f" {draw.randint(1780, 1999)}" if draw.random() < 0.3 else "")


def hour(draw: Random) -> str:
    return f"{draw.randint(0, 23):02d}:{draw.randrange(0, 60, 5):02d}"


def year(draw: Random) -> str:
    return str(draw.randint(1700, 1999))
