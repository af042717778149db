"""`aws SERVICE OPERATION --option value` by boto3, so that names of operations and options are AWS's own."""

import sys

import boto3
from botocore import xform_name

service, operation, *rest = sys.argv[1:]
client = boto3.client(service)
method = operation.replace("-", "_")
model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
names = {"--" + xform_name(name, "-"): name for name in model.input_shape.members}
options = dict(zip(rest[::2], rest[1::2], strict=True))
getattr(client, method)(**{names[option]: value for option, value in options.items()})
