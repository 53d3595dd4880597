"""An endless, seeded supply of everyday sentences, in two sets that never share a sentence. Knows no voices.

English comes from templates and word lists (rich in p b m, f v and rounded vowels, for these are what lips show);
other languages are short lists written out, their words in any order, and numbers, which the synthesiser words itself.
"""

import zlib
from collections.abc import Iterator

import numpy as np


def _words(text: str, between: str | None = None) -> tuple[str, ...]:
    return tuple(word.strip().replace("_", " ") for word in text.replace("\n", " ").strip().split(between))


_ADJECTIVE = _words("""
big small proper brown maple blue purple hungry happy famous quiet loud bumpy smooth brave very_old new
soft heavy warm cheap empty perfect simple yellow clever favourite pale bitter vivid tiny huge thick thin awful wooden
foggy fluffy wobbly marvellous beautiful curious royal choosy shy joyful weird ripe useful broken fresh round narrow
mobile public private modern ancient rough polite stubborn impossible remarkable velvet golden frozen""")
_NOUN = _words("""
puppy bottle mountain paper map boat bubble window movie river village teapot coffee pepper family apple
lamp shoe balloon mushroom football football_match camera judge church bridge thumb feather mother father brother baby
uncle zebra violin piano guitar museum hospital problem number question answer garden kitchen basket pocket umbrella
cup spoon knife fork oven moon sun cloud storm voice mouth elbow shoulder finger tooth beard moustache jumper zip
valley wave beach pebble ship harbour farm sheep cow wolf fox bee butterfly owl frog mouse spider worm robot computer
keyboard battery bulb pump pipe rope hammer wheel engine aeroplane motorbike bus tram taxi ambulance passport ticket
cabbage plum beef soup jam muffin pie bean mango melon yoghurt juice vegetable vampire pyramid jewel treasure""")
_PERSON = _words("""
Bob Pam Mum Tom Peter Paul Mary Barbara Phoebe Vivian Victor Frank Fiona William Wanda Joe Zoe Lucy Oscar
Arthur Martha Judy George Charlie Sheila Hugo Yvonne Robert Philip Eve Beth Maximilian Emma Bobby my_boss the_mayor
the_plumber our_neighbour your_mother the_whole_family somebody everybody nobody_here""")
_PLACE = _words("""
Paris Bombay Moscow Boston Miami Vienna Berlin Wembley Baltimore Hamburg Toronto Verona Wyoming the_pub
the_park the_farm the_office the_bathroom the_museum the_beach the_old_mill the_bus_stop the_shopping_centre
the_football_ground the_third_floor the_middle_of_nowhere the_bottom_drawer the_village_hall""")
_VERB_PAST = _words("""
bought found moved pushed brought opened washed watched mopped forgot painted borrowed chewed threw
hid polished swapped photographed measured described imagined bumped_into laughed_about paid_for wiped robbed fed
remembered admired followed improved wrapped chopped boiled proved avoided judged fetched showed_me mentioned
programmed repaired""")
_VERB = _words("""
open move find push remember bring stop help follow wash watch make show_me borrow mop wrap chop boil mix
imagine pay_for prove improve avoid describe measure hold keep swap photograph hum_about forgive approve choose
program repair""")
_ADVERB = _words("""
quickly probably maybe finally only almost hopefully suddenly above_all from_time_to_time before_breakfast
this_morning by_mistake in_public for_a_moment on_purpose with_both_thumbs without_a_map again_and_again
very_politely after_the_movie in_February in_November every_Wednesday""")
_EXCLAMATION = _words(
    """
Wow! Oh, no! | Bravo! | Hmm, maybe. | Yes, please! | Nope. | Oops! | Well, well, well. | Perfect! |
Come on! | Whoa, be careful! | Thank you very much! | Good morning! | Goodbye, my friend. | Hello! | Hurray! |
Amazing! | Stop! | Help! | What a mess! | Poor thing. | My goodness. | Fabulous! | Why not? | Of course. |
I beg your pardon? | Boom! | Blimey! | Mmm, yummy. | Bye bye! | Absolutely. | Oh, you too? | How wonderful! |
Who knows? | Never mind. | Welcome back! | Up, up and away! | Baby, it is beautiful. | Perhaps.""",
    "|",
)
_TEMPLATE = (
    "{P} {v} the {a} {n}.",
    "{P} {v} a {n} and a {n} in {p}.",
    "The {a} {n} is in {p}.",
    "Why is the {n} so {a}?",
    "Where did {P} find the {a} {n}?",
    "Can you {w} the {n} {d}?",
    "Would you like a {a} {n} or a {a} {n}?",
    "Please {w} my {n}, {d}.",
    "I {v} {k} {a} {n}s, and {P} {v} {k}.",
    "We need {k} {n}s by {h} o'clock.",
    "My phone number is {k}, {k}, {k}.",
    "It costs {k} pounds and {k} pence.",
    "{P} said that {P} {v} the {n} {d}.",
    "If you {w} the {n}, {P} will {w} the {n}.",
    "{D}, {P} {v} a {a}, {a} {n}.",
    "There are {k} {n}s above the {n} and {h} below the {n}.",
    "{E}",
    "{E}",
    "{E} The {n} was {a}.",
    "{P}, {P} and {P} went to {p} {d}.",
    "A {a} {n}, a {a} {n}, and a {n} full of {n}s.",
    "{n}, {n}, {n}, {n}.",
    "I think it will be {a} in {p}, but {P} does not believe it.",
    "You must never {w} a {n} before you {w} a {n}.",
    "How many {n}s do you see from {p}?",
    "What would {P} do with {k} {a} {n}s?",
    "Do not {w} it! {P} {v} that {n} {d}.",
    "When we moved to {p}, {P} {v} the {a} {n}, because the {n} was too {a} for {P}.",
    "Once upon a time, {P} lived near {p} with a {a} {n} who could {w} anything, even a {a} {n}.",
    "The weather in {p} is {a} today, with a {a} wind from {p}, and {k} degrees by {h} in the afternoon.",
    "Well, maybe. But who {v} the {n}?",
    "This is the {a} {n} that {P} {v} in nineteen {y}.",
)
_SMALL = _words("one two three four five six seven eight nine ten eleven twelve")

_OTHER = {
    "de": """Guten Morgen, wie geht es Ihnen?|Ich möchte bitte einen Kaffee mit Milch.|Wo ist der Bahnhof?|
Das Wetter ist heute wunderbar.|Meine Mutter kommt am Mittwoch.|Wir fahren mit dem Bus in die Stadt.|
Können Sie mir bitte helfen?|Der Hund läuft über die Brücke.|Vielen Dank für die Blumen!|Ich habe fünf Äpfel gekauft.|
Heute Abend kochen wir Suppe.|Warum bist du so müde?|Das Buch liegt auf dem Tisch.|Er spielt jeden Tag Fußball.|
Schöne Grüße aus München!|Die Kinder schlafen schon.|Bitte machen Sie die Tür zu.|Wie viel kostet das Brot?|
Ich verstehe kein Wort davon.|Im Sommer schwimmen wir im See.|Der Zug hat zwölf Minuten Verspätung.|
Pass bloß auf, das ist heiß!|Mein Bruder wohnt in Bremen.|Vielleicht übermorgen, vielleicht nie.|
Die Butter ist im Kühlschrank.|Zwei mal vier ist acht.|Ach so, jetzt verstehe ich.|Prima, das passt mir gut.|
Auf der Mauer sitzt eine kleine Maus.|Wann fängt der Film an?""",
    "fr": """Bonjour, comment allez-vous ?|Je voudrais un peu de pain, s'il vous plaît.|Où se trouve la gare ?|
Il fait très beau aujourd'hui.|Ma sœur habite à Bordeaux.|Nous prenons le bus pour aller au musée.|
Pouvez-vous m'aider ?|Le chien court sous le pont.|Merci beaucoup pour les fleurs !|J'ai acheté deux pommes vertes.|
Ce soir, on mange de la soupe.|Pourquoi es-tu si fatigué ?|Le livre bleu est sur la table.|Bravo, c'est parfait !|
Il joue du piano tous les jours.|Les enfants dorment déjà.|Fermez la porte, il fait froid.|Combien coûte ce fromage ?|
Je n'ai pas compris la question.|En été, nous nageons dans la rivière.|Le train part à huit heures.|
Attention, c'est brûlant !|Mon père boit un café au bar.|Peut-être demain, peut-être jamais.|Bien sûr, avec plaisir.|
On a vu un film formidable.|Tu peux ouvrir la fenêtre ?|Deux et deux font quatre.|Bonne nuit, mon amour.|
Le vieux peintre vend ses tableaux.""",
    "es": """Buenos días, ¿cómo está usted?|Quiero un vaso de agua, por favor.|¿Dónde está la estación?|
Hoy hace muy buen tiempo.|Mi madre vive en Bilbao.|Vamos al museo en autobús.|¿Me puede ayudar?|
El perro corre por el puente.|Muchas gracias por las flores.|Compré cinco manzanas verdes.|Esta noche comemos sopa.|
¿Por qué estás tan cansado?|El libro azul está en la mesa.|Juega al fútbol todos los días.|Los niños ya duermen.|
Cierra la puerta, que hace frío.|¿Cuánto cuesta el pan?|No entiendo la pregunta.|En verano nadamos en el río.|
El tren sale a las ocho y media.|¡Cuidado, está muy caliente!|Mi hermano bebe café en el bar.|
Quizás mañana, quizás nunca.|
Por supuesto, con mucho gusto.|Vimos una película fabulosa.|¿Puedes abrir la ventana?|Dos y dos son cuatro.|
Buenas noches, mi amor.|El viejo pintor vende sus cuadros.|¡Vaya, qué bonito!""",
    "it": """Buongiorno, come sta?|Vorrei un bicchiere d'acqua, per favore.|Dov'è la stazione?|Oggi fa molto caldo.|
Mia madre abita a Bologna.|Andiamo al museo in autobus.|Mi può aiutare?|Il cane corre sul ponte.|
Grazie mille per i fiori!|Ho comprato cinque mele verdi.|Stasera mangiamo la zuppa.|Perché sei così stanco?|
Il libro blu è sul tavolo.|Gioca a pallone ogni giorno.|I bambini dormono già.|Chiudi la porta, fa freddo.|
Quanto costa il pane?|Non ho capito la domanda.|D'estate nuotiamo nel fiume.|Il treno parte alle otto.|
Attenzione, è bollente!|Mio fratello beve un caffè al bar.|Forse domani, forse mai.|Certo, con molto piacere.|
Abbiamo visto un film bellissimo.|Puoi aprire la finestra?|Due più due fa quattro.|Buonanotte, amore mio.|
Il vecchio pittore vende i suoi quadri.|Ma che bella sorpresa!""",
    "pt": """Bom dia, como está?|Queria um copo de água, por favor.|Onde fica a estação?|Hoje está muito bom tempo.|
A minha mãe mora em Braga.|Vamos ao museu de autocarro.|Pode ajudar-me?|O cão corre pela ponte.|
Muito obrigado pelas flores!|Comprei cinco maçãs verdes.|Esta noite comemos sopa.|Por que estás tão cansado?|
O livro azul está na mesa.|Ele joga futebol todos os dias.|As crianças já dormem.|Fecha a porta, está frio.|
Quanto custa o pão?|Não percebi a pergunta.|No verão nadamos no rio.|O comboio parte às oito.|
Cuidado, está muito quente!|Talvez amanhã, talvez nunca.|Claro, com muito prazer.|Boa noite, meu amor.""",
    "pl": """Dzień dobry, jak się pan ma?|Poproszę szklankę wody.|Gdzie jest dworzec?|Dzisiaj jest piękna pogoda.|
Moja mama mieszka w Poznaniu.|Jedziemy autobusem do muzeum.|Czy może mi pani pomóc?|Pies biegnie przez most.|
Bardzo dziękuję za kwiaty!|Kupiłem pięć zielonych jabłek.|Wieczorem jemy zupę.|Dlaczego jesteś taki zmęczony?|
Książka leży na stole.|Dzieci już śpią.|Proszę zamknąć drzwi.|Ile kosztuje chleb?|Nie rozumiem pytania.|
Latem pływamy w rzece.|Pociąg odjeżdża o ósmej.|Uwaga, to jest gorące!|Może jutro, może nigdy.|
Oczywiście, z przyjemnością.|Dobranoc, kochanie.|Stary malarz sprzedaje obrazy.""",
    "tr": """Günaydın, nasılsınız?|Bir bardak su istiyorum, lütfen.|İstasyon nerede?|Bugün hava çok güzel.|
Annem Bursa'da oturuyor.|Müzeye otobüsle gidiyoruz.|Bana yardım eder misiniz?|Köpek köprüde koşuyor.|
Çiçekler için çok teşekkürler!|Beş yeşil elma aldım.|Bu akşam çorba içiyoruz.|Neden bu kadar yorgunsun?|
Mavi kitap masanın üstünde.|Çocuklar uyuyor.|Kapıyı kapat, hava soğuk.|Ekmek kaç lira?|Soruyu anlamadım.|
Yazın nehirde yüzeriz.|Tren sekizde kalkıyor.|Dikkat, çok sıcak!|Belki yarın, belki hiç.|İyi geceler, canım.|
Tabii, memnuniyetle.|Pencereyi açabilir misin?""",
    "nl": """Goedemorgen, hoe gaat het met u?|Ik wil graag een kopje koffie met melk.|Waar is het station?|
Het is vandaag prachtig weer.|Mijn moeder woont in Breda.|We gaan met de bus naar het museum.|Kunt u mij even helpen?|
De hond loopt over de brug.|Hartelijk bedankt voor de bloemen!|Ik heb vijf groene appels gekocht.|
Vanavond eten we soep.|Waarom ben je zo moe?|Het blauwe boek ligt op tafel.|De kinderen slapen al.|
Doe de deur dicht, het is koud.|Hoeveel kost dit brood?|Ik begrijp de vraag niet.|Pas op, dat is heet!|
De trein vertrekt om acht uur.|Misschien morgen, misschien nooit.|Natuurlijk, met plezier.|Welterusten, lieverd.|
Mijn broer speelt elke dag voetbal.|De oude schilder verkoopt zijn schilderijen.""",
    "sv": """God morgon, hur mår du?|Jag vill gärna ha en kopp kaffe med mjölk.|Var ligger stationen?|
Det är vackert väder i dag.|Min mamma bor i Malmö.|Vi åker buss till museet.|Kan du hjälpa mig?|
Hunden springer över bron.|Tack så mycket för blommorna!|Jag köpte fem gröna äpplen.|I kväll äter vi soppa.|
Varför är du så trött?|Den blå boken ligger på bordet.|Barnen sover redan.|Stäng dörren, det är kallt.|
Hur mycket kostar brödet?|Jag förstår inte frågan.|På sommaren badar vi i sjön.|Tåget går klockan åtta.|
Se upp, det är varmt!|Kanske i morgon, kanske aldrig.|Självklart, med glädje.|God natt, min vän.|
Min bror spelar fotboll varje dag.""",
    "ru": """Доброе утро, как поживаете?|Я хочу чашку кофе с молоком.|Где находится вокзал?|Сегодня прекрасная погода.|
Моя мама живёт в Перми.|Мы едем в музей на автобусе.|Вы можете мне помочь?|Собака бежит по мосту.|
Большое спасибо за цветы!|Я купил пять зелёных яблок.|Вечером мы едим суп.|Почему ты такой усталый?|
Синяя книга лежит на столе.|Дети уже спят.|Закройте дверь, холодно.|Сколько стоит хлеб?|Я не понял вопроса.|
Летом мы плаваем в реке.|Поезд отходит в восемь.|Осторожно, горячо!|Может быть завтра, может быть никогда.|
Конечно, с удовольствием.|Спокойной ночи, любимая.|Мой брат играет в футбол каждый день.""",
    "fi": """Hyvää huomenta, mitä kuuluu?|Haluaisin kupin kahvia, kiitos.|Missä on rautatieasema?|
Tänään on kaunis ilma.|Äitini asuu Porissa.|Menemme bussilla museoon.|Voitteko auttaa minua?|
Koira juoksee sillan yli.|Paljon kiitoksia kukista!|Ostin viisi vihreää omenaa.|Illalla syömme keittoa.|
Miksi olet niin väsynyt?|Sininen kirja on pöydällä.|Lapset nukkuvat jo.|Sulje ovi, on kylmä.|
Paljonko leipä maksaa?|En ymmärrä kysymystä.|Kesällä uimme joessa.|Juna lähtee kahdeksalta.|Varo, se on kuumaa!|
Ehkä huomenna, ehkä ei koskaan.|Totta kai, mielelläni.|Hyvää yötä, kultaseni.|Veljeni pelaa jalkapalloa.""",
}
LANGUAGES: tuple[str, ...] = ("en", *_OTHER)


def belongs_to_test(sentence: str) -> bool:
    """One sentence in eight is for tests only, whichever seed or template made it."""
    return zlib.crc32(sentence.encode()) % 8 == 0


def sentences(rng: np.random.Generator, language: str = "en", split: str = "train") -> Iterator[str]:
    """Endless sentences of a language from one split; the same generator state gives the same ones."""
    if split not in ("train", "test"):
        raise ValueError(f"split is 'train' or 'test', not {split!r}")
    if language not in LANGUAGES:
        raise ValueError(f"no sentences in {language!r}; there are {', '.join(LANGUAGES)}")
    written = [] if language == "en" else [line for line in _words(_OTHER[language], "|") if line]
    own = [line for line in written if belongs_to_test(line) == (split == "test")]
    while True:
        sentence = _english(rng) if language == "en" else _other(rng, own)
        if belongs_to_test(sentence) == (split == "test"):
            yield sentence


def _other(rng: np.random.Generator, written: list[str]) -> str:
    """A sentence as written, a few of their words in any order, or numbers."""
    how = rng.random()
    if how < 0.45:
        return str(rng.choice(written))
    if how < 0.85:
        words = [word.strip(".,!?¿¡:") for line in written for word in line.split()]
        words = [word for word in words if word]
        return " ".join(str(word) for word in rng.choice(words, rng.integers(2, 8))) + "."
    highest = (10, 100, 1000, 10000)
    return ", ".join(str(rng.integers(0, rng.choice(highest))) for _ in range(rng.integers(1, 5))) + "."


def _english(rng: np.random.Generator) -> str:
    fill = {
        "a": _ADJECTIVE, "n": _NOUN, "P": _PERSON, "p": _PLACE, "v": _VERB_PAST, "w": _VERB, "d": _ADVERB,
        "D": _ADVERB, "h": _SMALL, "E": _EXCLAMATION,
    }  # fmt: skip
    out = []
    for piece in str(rng.choice(_TEMPLATE)).split("{"):
        key, brace, rest = piece.partition("}")
        if not brace:
            out.append(piece)
        elif key in "ky":
            highest = int(rng.choice([10, 100, 1000, 10000])) if key == "k" else 90
            out.append(str(int(rng.integers(0, highest)) + (10 if key == "y" else 0)) + rest)
        else:
            out.append(str(rng.choice(fill[key])) + rest)
    sentence = "".join(out)
    return sentence[:1].upper() + sentence[1:]
