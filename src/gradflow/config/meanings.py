"""What each config key means, in a line: for --help and the reference page.

A test asks for a line for every field of every config class of the package, and for no other.
"""

MEANINGS: dict[str, dict[str, str]] = {
    "": {
        "seed": "seed of weights, order of images, augmentation and all else that is random",
        "steps": "number of training steps",
        "device": "device that the run is trained on",
        "dtype": "format of the arithmetic; bfloat16 and tf32 keep weights in float32 and round "
        "what is multiplied; auto: float32 or bfloat16, whichever is faster on this "
        "machine",
        "graph": "whether the training step is replayed as a CUDA graph; needs device=cuda",
        "threads": "threads per run; several runs side by side use the cores better",
        "output_root": "folder of all output",
        "checkpoint_seconds": "seconds between checkpoints, from which an interrupted run resumes",
        "task": "family: the task of the network family; identity: reproduce the input "
        "(network=mlp)",
        "only": "which runs of a sweep are done",
        "resume": "auto: only from a checkpoint of the same code, torch version and instruction "
        "set; force: from any",
        "dry_run": "whether to print what would be done and its cost, and to do nothing",
        "plugins": "your own files and modules, such as [my/norms.py], imported before all else",
        "run": "folder of a run, or of a study: then each of its runs",
        "image_shape": "channels, height, width of the input; [1,1,64]: 64 tokens; null: "
        "[3,32,32], or the tokens of an example of data=text",
        "outputs": "number of outputs of the network; null: the default of the family",
        "times": "factor of the number of random networks per claim",
        "match": "text that the topic or name of a tested claim contains",
        "laws": "whether the laws over depth are drawn as courses too",
        "workers": "number of processes that share the claims; null: one per core",
    },
    "evaluation": {
        "every": "steps between evaluations; the last step always has one",
        "images": "number of images per split; null: all",
        "all_at_end": "whether the last evaluation is of all images, whatever `images` says",
    },
    "study": {
        "name": "name of the study: its folder below output_root",
        "analysis": "analyses that end the study, in order; []: those that fit its keys",
    },
    "search": {
        "trials": "number of trials per combination of the listed values (gradflow tune)",
        "batch": "number of trials of a combination between which the search learns",
        "objective": "value that is minimized",
        "prune": "whether a run stops if most others were better at the same step",
        "seed": "seed of the proposals",
        "study": "set by gradflow tune: the search that a run belongs to",
        "trial": "set by gradflow tune: its number there",
    },
    "network": {
        "depth": "weighted layers on the longest path; 6n+2 of cifar_resnet",
        "width": "channels of the first stage; features of an mlp or a transformer",
        "skip": "whether the shortcut is added; false: the plain twin",
        "norm": "normalization in each branch; group: 8 groups",
        "activation": "nonlinear function in each branch; identity: a linear network",
        "bias": "whether layers have a bias; null: exactly if there is no norm",
        "initialization": "distribution that weights are drawn from",
        "weight_variance": "variance of weights times fan-in, for initialization=gaussian",
        "bias_variance": "variance of biases, for initialization=gaussian and critical",
        "zero_last": "whether the last weight of each branch starts at 0 (Goyal et al. 2017)",
        "scaling": "factor of each branch, from the number of blocks L: 1, 1/sqrt(L), 1/L; or "
        "learned: rezero (Bachlechner et al. 2021), layer_scale (Touvron et al. 2021)",
        "branch_scale": "constant factor of each branch",
        "survival": "probability that the last block's branch is kept (Huang et al. 2016)",
        "checkpoint": "whether blocks are recomputed in the backward pass: less memory, equal "
        "numbers",
        "placement": "where norm and activation stand in a block (He et al. 2016, fig. 4)",
        "shortcut": "S(x) of a block. A: identity, zero-padded; B: projection if the shape "
        "changes; C: projection everywhere; or with a gate or dropout (He et al. "
        "2016, table 1)",
        "shortcut_scale": "constant factor of each shortcut",
        "block": "convolutions of a branch. basic: two 3x3; bottleneck: 1x1, 3x3, 1x1 to four "
        "times the width (He et al. 2015, fig. 5); single, triple: one or three 3x3",
        "gate_bias": "initial bias of the gate, for shortcuts with a gate",
        "dropout": "probability to drop, for shortcut=dropout",
        "stages": "number of stages; each after the first halves the image and doubles the width",
        "builder": "the function that makes it: file.py:function or module:function",
        "options": "further arguments of the builder, such as {heads: 4}",
        "twin": "who makes the plain twin: the builder (skip=false), or gradflow from outside",
        "layers": "layers per block",
        "widths": "width of each block, with a projection if it changes; []: `width` for all",
        "heads": "number of attention heads",
        "qk_norm": "whether queries and keys of each attention have norms",
        "connection": "what passes from block to block of a transformer",
        "streams": "number of residual streams, for the hyper connections",
        "patch": "side of an image patch, in pixels",
    },
    "data": {
        "batch_size": "images per step",
        "subset": "number of training images; null: all",
        "augment": "pad 4, random crop, random flip",
        "folder": "folder of the data; the data are part of a run's identity, the folder is not",
        "file": "path of the archive",
        "images": "name of the archive's array of images",
        "labels": "name of the archive's array of labels",
        "image": "name of the column of images",
        "label": "name of the column of labels",
        "height": "height of an image, in pixels",
        "width": "width of an image, in pixels",
        "classes": "number of classes",
        "channels": "channels of an image; 1: gray",
        "context": "characters per window",
        "dataset": "the function that makes it: file.py:function or module:function",
        "arguments": "arguments of that function, such as {root: data}",
    },
    "optimizer": {
        "learning_rate": "peak learning rate; the schedule varies it by step",
        "weight_decay": "weight decay of every parameter, as in He et al. 2015",
        "clip_norm": "a gradient whose norm is above it is scaled down to it; null: never",
        "momentum": "decay of the moving average of gradients",
        "beta1": "decay of the mean of gradients",
        "beta2": "decay of the mean of squared gradients",
    },
    "schedule": {
        "milestones": "steps at which the rate is multiplied by `factor`",
        "factor": "factor of the rate at each milestone",
        "warmup_steps": "number of steps at the start with a lower rate",
        "warmup_factor": "factor of the peak rate during these steps",
        "rise": "share of the steps until the peak",
        "start_divisor": "the first rate is peak / start_divisor",
        "end_divisor": "the last rate is peak / end_divisor",
    },
    "probe": {
        "every": "steps between measurements; the first and the last step always",
        "per_decade": "measured steps per factor of 10; the first and the last step always",
        "steps": "the measured steps, such as [0,10,100]",
    },
    "details": {
        "every": "steps between closer looks; the first and the last step always",
        "per_decade": "such steps per factor of 10; the first and the last step always",
        "steps": "such steps, as [0,10,100]",
    },
    "diagnostic": {
        "at": "which weights are diagnosed: as drawn, as trained, or both",
        "split": "split that the images are from",
        "images": "number of images",
        "vectors": "number of random vectors in the estimate of the trace",
        "examples": "number of images whose Jacobians are taken",
        "exact_up_to": "largest side of a Jacobian of which all singular values are computed",
        "values": "number of largest singular values that are computed of a larger Jacobian",
        "line": "number of points on the line; odd",
        "plane": "number of points per side of the plane; odd",
        "reach": "length of line and plane; 1: the norm of the weights",
        "samples": "number of draws of each number of blocks (lesion), of paths of each length "
        "(paths)",
        "points": "number of points on the line between two images",
    },
}
"""Group ("": of the command itself) -> key -> meaning."""

GROUPS_MEAN = {
    "network": "the family of networks",
    "data": "the data set",
    "optimizer": "the optimizer",
    "schedule": "the learning rate by step",
    "probe": "when gradients are measured",
    "details": "when the sparse tables are recorded: dead units, zero gradients",
    "diagnostic": "what is measured of the network after training",
}
"""Group -> what is chosen by `group=name`."""
