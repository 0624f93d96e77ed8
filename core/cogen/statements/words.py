"""Terms and names of a field, and others of their kind that fit into their place.

Kind is form (script, case, digits, ending), frequency in the field and length, and what stands beside: a replacement
was seen in the field after the same word, and before the same word, so that grammar alone tells neither sentence from
the other. Out is what may be true as well: words of the same document, words that a text joins, forms of one word.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

from cogen.statements.field import LEAST, LEAST_DOCUMENTS, Field
from cogen.statements.shapes import shape
from cogen.statements.slots import Kind, Line, Slot, order
from cogen.statements.tokens import Token
from cogen.statements.units import group_of
from cogen.text.scripts import is_unspaced, length

#: Frequencies of the two in the field differ by this factor at most; so do lengths, in letters, or by two.
FREQUENCY, LENGTH = 6.0, 1.5
#: Least and most similarity of what the two stand beside: less is another part of speech, more may be a synonym.
FIT, SYNONYM = 0.04, 0.12
#: Of the best matched replacements, one is drawn.
BEST = 12
#: Two words are forms of one where they have this share of their letters in common.
_ALIKE = 0.7
_MARKS = frozenset((",", "(", ")", "，", "（", "）"))
#: Words of technical prose that name nearly anything: what is true of the parameters is often true of the properties.
#: Languages without a list keep theirs; the other filters are the same for all.
_GENERAL = frozenset(
    """adult adults approach approaches aspect aspects attribute attributes case cases class classes component
    components concept concepts condition conditions content context data detail details element elements entities
    entity example examples factor factors feature features field fields form format forms function functionality
    functions group groups individual individuals information input inputs instance instances item items kind kinds
    level levels list lists mechanism mechanisms method methods model modeled modelled models module modules name
    names network networks object objects option options output outputs parameter parameters part parts patient
    patients people person persons point points problem problems procedure procedures process processes properties
    property quality quantities quantity result results scheme section sections series set sets setting settings
    solution solutions specification specifications state states structure structures studies study subject
    subjects subset subsystem subsystems system systems task tasks technique techniques term terms thing things
    tool tools type types unit units user users value values variable variables version way ways work works""".split()  # noqa: SIM905
)
#: Words that take others in: what is true of a bone is often true of a region. They replace nothing.
_WIDE = frozenset(
    """abnormalities abnormality activities activity agent agents algorithm algorithms amount amounts area areas
    array arrays bodies body cell cells change changes code codes compound compounds concentration curve decrease
    device devices difference differences dilatation disease diseases disorder disorders document documents effect
    effects equation equations equipment event events file files finding findings fluid fluids function functions
    gas growth hormone hormones image images increase index layer layers line lines liquid loss management material
    materials matrix measure measures older operation operations order pipe pipes plan plans plant plants position
    positions presence product products program programs project projects range ranges rate rates reason reasons
    region regions response responses risk risks service services signal signals site sites source sources space
    spaces status string strings substance substances surface surfaces symptom symptoms temperature test tests text
    texts threshold tissue tissues tolerance total treatment treatments water""".split()  # noqa: SIM905
)
#: What stands before a verb: who assumes something may calculate it, too.
_BEFORE_VERBS = frozenset("i we you they it who that which to must should will shall would please".split())  # noqa: SIM905
#: What joins the members of a list.
_AND = frozenset(("and", "or", "nor", "/", "&", "和", "与", "及", "或", "、"))
#: Tokens after a comma in which "and" makes what stands before it a member of a list.
_LIST = 4


def word_slots(line: Line, kind: Kind, need: int = 1) -> Iterator[Slot]:
    """Slots of the kind ``term`` or ``entity`` that have at least ``need`` replacements."""
    wanted = is_term if kind == "term" else is_entity
    for at, token in enumerate(line.tokens):
        if (
            at == 0
            or line.hedged(token)
            or _of_list(line, at)
            or (kind == "term" and line.key(at - 1) in _BEFORE_VERBS)
            or _expanded(line, at)
            or line.shown.count(token.text.lower()) > 1
            or not wanted(token.text, line.field)
        ):
            continue
        others = replacements(line, at, kind)
        if len(others) >= need:
            yield Slot(kind, token.start, token.end, tuple(others))


def _of_list(line: Line, at: int) -> bool:
    """A member of a list: where "fever and chills" are signs, fever and nausea may be as well."""
    before, after = line.key(at - 1), line.key(at + 1)
    if before in _AND or after in _AND or (before in _MARKS and after in _MARKS):
        return True
    return after == "," and any(line.key(at + 2 + step) in _AND for step in range(_LIST))


def _expanded(line: Line, at: int) -> bool:
    """Alone in brackets: an abbreviation of what stands before it, which its letters tell without any knowledge."""
    return line.key(at - 1) in ("(", "（") and line.key(at + 1) in (")", "）")


def is_term(word: str, field: Field) -> bool:
    """Lower-case letters of a spaced script, or one of the known terms, that belongs to the field."""
    plain = word.isalpha() and word == word.lower() and len(word) > 2 and not group_of(word)
    # Adverbs ("daily", "orally") and participles ("required", "calculated") hold beside each other.
    plain = plain and word not in _GENERAL and not word.endswith(("ly", "ed"))
    return (plain or word in field.known_terms) and field.is_term(word)


def is_entity(word: str, field: Field) -> bool:
    """A name or an abbreviation: capital letters inside of sentences, more often than the same word in lower case."""
    if len(word) < 2 or not word[0].isalpha() or word == word.lower() or "." in word or "_" in word:
        return False
    known = field.counts[word]
    if known < LEAST or field.documents[word] < LEAST_DOCUMENTS:
        return False
    return field.inside[word] >= 0.5 * known and field.general[word.lower()] + field.counts[word.lower()] < known


def replacements(line: Line, at: int, kind: Kind) -> list[str]:
    """What may stand in the place of the token at ``at``, well-matched ones first; at most :data:`BEST`."""
    token, field = line.tokens[at], line.field
    left, right = line.key(at - 1), line.key(at + 1)
    known = field.counts[token.text]
    fits = field.after.get(left, {}).keys() & field.before.get(right, {}).keys()
    wanted = is_term if kind == "term" else is_entity
    found = [
        word
        for word in fits
        if word.lower() not in line.document
        and word not in _WIDE
        and _same_form(word, token.text)
        and max(field.counts[word], known) <= FREQUENCY * min(field.counts[word], known)
        and wanted(word, field)
        and not alike(word, token.text)
        and (FIT if kind == "term" else 0.0) <= field.similarity(word, token.text) <= SYNONYM
        and frozenset((word.lower(), token.text.lower())) not in field.joined
    ]
    found.sort(key=lambda word: (_distance(word, token, field), word))
    return sorted(found[:BEST], key=lambda word: (order(line.sentence.text, word), word))


def _distance(word: str, token: Token, field: Field) -> float:
    counts = sorted((field.counts[word], field.counts[token.text]))
    unlike = 1 - field.similarity(word, token.text) / SYNONYM
    return unlike + counts[1] / counts[0] + abs(length(word) - length(token.text)) / length(token.text)


def _same_form(word: str, other: str) -> bool:
    if is_unspaced(word) != is_unspaced(other) or shape(word) != shape(other):
        return False
    small, large = sorted((length(word), length(other)))
    return large <= max(LENGTH * small, small + 2)


def alike(word: str, other: str) -> bool:
    """Forms, parts or spellings of one word, as far as letters show it."""
    a, b = word.lower(), other.lower()
    if a in b or b in a:
        return True
    if is_unspaced(a):
        return False
    common = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return common >= max(4, 0.6 * min(len(a), len(b))) or SequenceMatcher(None, a, b, False).ratio() >= _ALIKE
