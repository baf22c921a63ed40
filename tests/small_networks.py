"""Networks of a layer or two: what the page runs of LiteRT's files, and what it refuses."""

from convnetlab.backend import keras

layers = keras.layers
SHAPE = (11, 9, 2)


def small(layer):
    """A network that computes `layer` of six feature maps; all that it computes is its answer."""
    keras.utils.set_random_seed(3)
    image = keras.Input(SHAPE, name="image")
    biases = keras.initializers.RandomNormal(stddev=0.3)
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(6, 3, padding="same", bias_initializer=biases)(x)
    return keras.Model(image, layers.Flatten()(layer(x)))


def squeezed(x):
    """A factor for each channel, as a squeeze-and-excitation block computes it."""
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Multiply()([x, layers.Dense(6, activation="relu")(mean)])


def normalised(x):
    """Batch normalisation that no convolution can take in."""
    figures = dict.fromkeys(
        ("beta_initializer", "gamma_initializer", "moving_mean_initializer"), "random_normal"
    )
    return layers.BatchNormalization(**figures)(layers.MaxPooling2D(2)(x))


# What stands in no network of the registry, but may stand in a student's.
RUN = {
    "convolution, dilated": layers.Conv2D(5, 3, dilation_rate=2, padding="same", activation="relu"),
    "convolution, oblong": layers.Conv2D(5, (1, 4), (2, 3), dilation_rate=1, use_bias=False),
    "convolution in groups": layers.Conv2D(8, 3, 2, "same", groups=2, activation="relu6"),
    "depthwise, two each": layers.DepthwiseConv2D((3, 5), 2, depth_multiplier=2),
    "separable": layers.SeparableConv2D(8, 3, padding="same", activation="relu"),
    "dense, for each pixel": layers.Dense(7, activation="relu"),
    "dense": lambda x: layers.Dense(33, activation="relu6")(layers.Flatten()(x)),
    "average pooling": layers.AveragePooling2D(3, 2, "same"),
    "average pooling, oblong": lambda x: layers.ReLU()(layers.AveragePooling2D((5, 3), (3, 1))(x)),
    "maximum pooling, ReLU6": lambda x: layers.ReLU(6)(layers.MaxPooling2D(3, 2, "same")(x)),
    "ReLU": lambda x: layers.ReLU()(layers.ZeroPadding2D(((1, 0), (0, 2)))(x)),
    "ReLU6": lambda x: layers.ReLU(6)(layers.ZeroPadding2D(1)(x)),
    "mean, then ReLU": lambda x: layers.ReLU()(layers.GlobalAveragePooling2D()(x)),
    "sum, then ReLU": lambda x: layers.ReLU()(
        layers.Add()([x, layers.MaxPooling2D(3, 1, "same")(x)])
    ),
    "product": lambda x: layers.Multiply()([x, layers.Conv2D(6, 1)(x)]),
    "squeezed": squeezed,
    "normalised": normalised,
    "joined rows": lambda x: layers.Concatenate(axis=1)([x, x * 3]),
    "softmax, for each pixel": layers.Softmax(),
}
# What the page refuses, and how that is named.
REFUSED = {
    "TANH": layers.Activation("tanh"),
    "LOGISTIC": layers.Activation("sigmoid"),
    "HARD_SWISH": layers.Activation("hard_swish"),
    "LEAKY_RELU": layers.LeakyReLU(),
    "TRANSPOSE": layers.Permute((2, 1, 3)),
    "REDUCE_MAX": layers.GlobalMaxPooling2D(),
    "STRIDED_SLICE": layers.Cropping2D(1),
    "MUL of 1 × 11 × 9 × 6 and 1 × 11 × 9 × 1": lambda x: layers.Multiply()(
        [x, layers.Conv2D(1, 1)(x)]
    ),
    "MEAN of 1 × 99 × 6": lambda x: layers.GlobalAveragePooling1D()(layers.Reshape((99, 6))(x)),
    "PAD of 1 × 99 × 6": lambda x: layers.ZeroPadding1D(1)(layers.Reshape((99, 6))(x)),
}
