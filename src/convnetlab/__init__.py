"""A notebook-driven teaching lab for image classification with TensorFlow and Keras 3.

Importing this package is cheap: TensorFlow is loaded by the modules that need it, not here.
"""

import os

__version__ = "0.1.0"

# Read by TensorFlow when it is first imported; a value that the user has set stays.
# The lab needs Keras's TensorFlow backend, whatever ~/.keras/keras.json says.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Notes about a missing GPU only worry a student; what goes wrong is raised as an exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On a CPU each training step frees and takes back some 100 MB; the pooled allocator spares the
# system's page faults, and oneDNN has the faster convolutions. `convnetlab bench` has the times.
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
