"""The text that models are compared on: plain English of our own, the same for all of them.

Its second paragraph repeats the first, word for word: what a model says there depends on where it
looks back to, so that a mistake in the handling of positions shows.
"""

from __future__ import annotations

TEXT = (
    "Once upon a time there was a little girl named Lily. She lived in a small house near the"
    " river with her mother, her brother Tom and a big brown dog. Every morning the dog "
    "waited at the door, and every morning Lily took him for a walk along the water.\n\n"
    "Then Tom told it once more, because he liked it so much: Once upon a time there was a "
    "little girl named Lily. She lived in a small house near the river with her mother, her "
    "brother Tom and a big brown dog. Every morning the dog waited at the door, and every "
    "morning Lily took him for a walk along the water.\n\n"
    'One day they found a red box under an old tree. "Look," said Lily, "somebody lost a '
    'box!" Tom wanted to open it at once, but their mother said that they should first ask '
    "the neighbours. They asked Mrs. Green, who had 3 cats and 12 hens, and she did not know "
    "the box. They asked the baker, and he did not know it either. At last they asked the old"
    ' man at the mill. He smiled and said: "That red box under the old tree was mine when I '
    'was a boy. I put 7 coins, a map and a letter in it, and then I forgot where it was." So '
    "Lily gave him the box, and he gave her the map.\n\n"
    "The map showed the river, the small house, the mill and a hill behind the forest. From "
    "the mill one had to walk 200 steps to the north, then 350 steps to the east, and at the "
    "end there was a cross. The next day Lily, Tom and the big brown dog went to the mill. "
    "They walked 200 steps to the north and 350 steps to the east, and there they found an "
    'old tree, and under it another box. In the box was a letter: "Whoever reads this is '
    "brave and patient. Share what you find, ask before you take, and come home before it is "
    'dark."\n\n'
    "When they came home, their mother asked what they had found. Lily told her about the red"
    " box, the old man at the mill, the map and the letter."
)
