"""Help texts that two command lines share: that of tvm-mobilenet-runtime is a part of the other."""

ARTIFACT = "A file that `tvm-mobilenet compile` wrote."
IMAGES = (
    "Image files, folders (with those inside them), or - for standard input: "
    "an image, or names of files by line; or arrays as .npy or .npz."
)
TOP = "Classes to print."
BATCH = "Images a call; as many as the artifact takes by default."
THREADS = "Threads to run on; TVM_NUM_THREADS, or all cores, by default."
SAVE = "Write the outputs: .npz by name, or .npy of a single one."
JSON = "Print one JSON object instead."
CSV = "Print the table as CSV instead, numbers in full."
WIDE = "All columns, however wide the table becomes."
VERBOSE = "Tell what is done and how long it takes, and of every error what caused it."
QUIET = "Print the result and errors, nothing else."

COUNTS = "Numbers of threads, by commas: 1,2."
ROUNDS = "Turns that every runtime takes."
SECONDS = "Length of a turn."
WARMUP = "Seconds before each turn that are not timed; a fifth of the turn by default."
ITERATIONS = "Calls to time in a turn, instead of its --seconds."

RUN = """Classify images, or run arrays.

Preprocesses as the artifact says and prints the likeliest classes. Photographs
are turned upright; of an animation the first frame counts. What cannot be read
is named on standard error and skipped. Arrays go in as they are, any number of
examples in each; of a network that does not classify, the outputs are described.

\b
Exit status:
  0  every image was classified
  1  some were skipped
  2  none was classified, or the artifact cannot be run

\b
Examples:
  tvm-mobilenet run mobilenet.so cat.jpg dog.png --top 3
  tvm-mobilenet run mobilenet.so ~/Pictures --json > classes.json
  tvm-mobilenet run mobilenet.so batch.npy --save scores.npz
  find . -name '*.jpg' -newer mark | tvm-mobilenet run mobilenet.so -
"""

INSPECT = """Print what an artifact says about itself.

Nothing in it is executed.

\b
Examples:
  tvm-mobilenet inspect mobilenet.so
  tvm-mobilenet inspect mobilenet.so --json | jq .needs
"""
