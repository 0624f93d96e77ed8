"""One spelling for every text that reads the same: what copies are compared by. Never what is trained on.

The same text comes in many code points: composed and decomposed (macOS), half and full width, presentation forms and
ligatures (PDF), with soft hyphens, joiners, variation selectors and marks of direction (web pages), with and without
tatweel, vowel points and hamza. All of it is folded by Unicode's own data: compatibility decomposition, full case
folding, ``Default_Ignorable_Code_Point``, decimal digits; and by what search in Arabic and Persian folds in addition
(Lucene's ``ArabicNormalizer`` and ``PersianNormalizer``). Simplified and traditional Chinese stay two texts: which
character stands for which needs a dictionary, and what a recipe gives must not depend on one being installed.
"""

from __future__ import annotations

import unicodedata

import regex

#: Signs whose compatibility decomposition begins with a space, which would part a word: spacing vowel points, the acute
#: accent as an apostrophe.
_SPACING = dict.fromkeys([*range(0xFE70, 0xFE80), *range(0xFC5E, 0xFC64)]) | {0xB4: "'", 0x1FBD: "'", 0x1FFD: "'"}
#: Invisible (soft hyphen, joiners, word joiner, variation selectors, marks of direction, fillers), or optional: vowel
#: points and hamza of Arabic, points of Hebrew, tatweel. Of decomposed text: alef with hamza is alef and a mark here.
#: So are the dots of Russian yo and of Turkish capital i, stress of Russian, and accents of Greek, which capitals lack.
_DROPPED = regex.compile(
    r"[\p{Default_Ignorable_Code_Point}\p{Cf}\u0640\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u08d3-\u08ff"
    r"\u0591-\u05c7]|\u0307(?<=i\p{M}{1,30})|\u0308(?<=е\p{M}{1,30})|\u0301(?<=[аеиоуыэюяіє]\p{M}{1,30})"
    r"|[\u0300\u0301\u0308\u0313\u0314\u0342](?<=\p{Greek}\p{M}{1,30})"
)
#: More marks on a letter than any language has (the Stream-Safe Text Format of UAX #15): ordering them takes time in
#: proportion to the square of their number.
_MANY_MARKS = regex.compile(r"(\p{M}{30})\p{M}+")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
#: Tone and nikhahit of Thai and Lao are typed in either order.
_TONE = regex.compile(r"([\u0e48-\u0e4b])(\u0e4d)|([\u0ec8-\u0ecb])(\u0ecd)")
#: Letters that stand for each other: dotless yeh, Persian yeh, yeh barree; Persian kaf and swash kaf; teh marbuta and
#: other forms of heh; alef wasla; Turkish dotless i, of which capitals keep no trace; comma and cedilla of Romanian;
#: letters in the place of an apostrophe.
_SAME = {
    "\u0649": "\u064a",
    "\u06cc": "\u064a",
    "\u06cd": "\u064a",
    "\u06d0": "\u064a",
    "\u06d2": "\u064a",
    "\u06a9": "\u0643",
    "\u06aa": "\u0643",
    "\u0629": "\u0647",
    "\u06c0": "\u0647",
    "\u06c1": "\u0647",
    "\u06c3": "\u0647",
    "\u06d5": "\u0647",
    "\u0671": "\u0627",
    "\u0131": "i",
    "\u0326": "\u0327",
    "\u02bb": "'",
    "\u02bc": "'",
}
#: Radicals, which PDF files have in the place of characters (Unicode's ``Equivalent_Unified_Ideograph``; those without
#: a line of their own here, the Kangxi radicals, have a compatibility decomposition).
_RADICALS = (
    "⺁⺂⺃⺄⺅⺆⺇⺈⺉⺊⺋⺌⺍⺎⺏⺐⺑⺒⺓⺔⺕⺖⺗⺘⺙⺛⺜⺝⺞⺟⺠⺡⺢⺣⺤⺥⺦⺧⺨⺩⺪⺫⺬⺭⺮⺯⺰⺱⺲⺳⺴⺵⺶⺷⺸⺹⺺"
    "⺻⺼⺽⺾⺿⻀⻁⻂⻃⻄⻅⻆⻇⻈⻉⻊⻋⻌⻍⻎⻏⻐⻑⻒⻓⻔⻕⻖⻗⻘⻙⻚⻛⻜⻝⻞⻟⻠⻡⻢⻣⻤⻥⻦⻧⻨⻩⻪⻫⻬⻭⻮⻯⻰⻱⻲⻳"
)
_CHARACTERS = (
    "厂乛乚乙亻冂𠘨刀刂卜㔾小尐兀尣尢𡯂巳幺彑彐忄心扌攵旡日月歺母民氵氺灬爫爬丬牛犭王𤴔目示礻𥫗糹纟罓罒㓁冗𦉫羊𦍌𦍋耂肀"
    "聿肉𦥑艹艺艻虎衤覀西见角𧢲讠贝𧾷车辶辷辸邑钅長镸长门𨸏阝雨青韦页风飞食𩙿飠饣𩠐马骨鬼鱼鸟卤麦黄黾斉齐歯齿竜龙龜亀龟"
)
_TABLE = str.maketrans(dict(zip(_RADICALS, _CHARACTERS, strict=True)) | _SAME)


def fold(text: str) -> str:
    """The text as it is compared: its length and punctuation may differ. Linear in the length of the text."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", _MANY_MARKS.sub(r"\1", text.translate(_SPACING)))
    text = unicodedata.normalize("NFKD", text.casefold())  # full case folding may compose letters again
    text = _DROPPED.sub("", text).translate(_TABLE)
    text = _DIGIT.sub(lambda match: str(unicodedata.decimal(match[0])), text)
    return unicodedata.normalize("NFC", _TONE.sub(r"\2\1\4\3", text))
