//! The description of the admin listener in OpenAPI 3.1, written from the table of endpoints and the types they speak.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::endpoints::{Answer, Content, ENDPOINTS, Endpoint};
use super::reply::ErrorBody;

/// The document; `has_token` is whether a token must be shown.
pub(super) fn document(has_token: bool) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in &ENDPOINTS {
        let operation = operation(endpoint, has_token, &mut generator);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.as_str().to_ascii_lowercase()] = operation;
    }
    let schemas = generator.take_definitions(true);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tollgate, admin listener",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas },
    });
    if has_token {
        document["components"]["securitySchemes"] =
            json!({ "token": { "type": "http", "scheme": "bearer" } });
    }
    document
}

fn operation(endpoint: &Endpoint, has_token: bool, generator: &mut SchemaGenerator) -> Value {
    let mut responses: Map<String, Value> = Map::new();
    for answer in endpoint.answers {
        responses.insert(answer.status.as_str().to_owned(), response(answer, generator));
    }
    for (status, when) in common(endpoint, has_token) {
        let error = json!({
            "description": when,
            "content": { "application/json": { "schema": schema::<ErrorBody>(generator) } },
        });
        responses.entry(status).or_insert(error);
    }
    let mut operation = json!({
        "summary": endpoint.summary,
        "operationId": operation_id(endpoint),
        "responses": responses,
    });
    if endpoint.path.contains("{name}") {
        operation["parameters"] = json!([{
            "name": "name",
            "in": "path",
            "required": true,
            "description": "A limit's name.",
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_.-]+$" },
        }]);
    }
    if let Some(body) = endpoint.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": body(generator) } },
        });
    }
    if has_token && !endpoint.is_open {
        operation["security"] = json!([{ "token": [] }]);
    }
    operation
}

fn response(answer: &Answer, generator: &mut SchemaGenerator) -> Value {
    let content: Map<String, Value> = match &answer.content {
        Content::Json(schema) => {
            Map::from_iter([("application/json".to_owned(), json!({ "schema": schema(generator) }))])
        }
        Content::Text(types) => {
            let text =
                |media_type: &&str| ((*media_type).to_owned(), json!({ "schema": { "type": "string" } }));
            types.iter().map(text).collect()
        }
    };
    json!({ "description": answer.when, "content": content })
}

/// What every endpoint of a kind may answer.
fn common(endpoint: &Endpoint, has_token: bool) -> Vec<(&'static str, &'static str)> {
    let mut common = Vec::new();
    if !endpoint.is_open {
        if has_token {
            common.push(("401", "The token is missing or wrong."));
        }
        common.push(("403", "The request came by a name, or from a page, that is not ours."));
        common.push(("503", "It took too long, or too many ask."));
    }
    if endpoint.has_body() {
        common.push(("400", "The body is not what is wanted."));
        common.push(("408", "The body took too long."));
        common.push(("413", "The body is larger than 64 KiB."));
        common.push(("415", "The body is not said to be JSON."));
    }
    common
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// `post_limits_name_reset`
fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let method = endpoint.method.as_str().to_ascii_lowercase();
    std::iter::once(method.as_str()).chain(words).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_to_a_schema_and_every_endpoint_is_there() {
        let document = document(true);
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let references: Vec<&str> = text.split("\"#/components/schemas/").skip(1).collect();
        assert!(references.len() > 20, "only {}", references.len());
        for reference in references {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "`{name}` is not there");
        }
        for endpoint in &ENDPOINTS {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][endpoint.path][&method];
            assert!(operation["responses"]["200"].is_object(), "{} {}", endpoint.method, endpoint.path);
            assert_eq!(operation["security"].is_array(), !endpoint.is_open);
        }
        assert!(schemas.contains_key("Status") && schemas.contains_key("Error"));
    }

    #[test]
    fn without_a_token_none_is_asked_for() {
        let text = document(false).to_string();
        assert!(
            !text.contains("\"security\"") && !text.contains("securitySchemes") && !text.contains("\"401\"")
        );
    }
}
